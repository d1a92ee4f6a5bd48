cpdef call(function, argument, dict keywords)
cpdef bind(method, instance)
