cpdef call(function, argument, dict keywords)
cpdef bind(method, instance)
cpdef bint is_text(item, str text) except -1
cpdef call_in(context, function, argument)
