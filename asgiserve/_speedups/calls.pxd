cpdef call(function, argument, dict keywords)
cpdef bind(method, instance)
cpdef call_in(context, function, argument)
