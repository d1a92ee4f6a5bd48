cpdef dict make_scope(
    str http_version,
    object server,
    object client,
    str scheme,
    str method,
    str root_path,
    str path,
    bytes raw_path,
    bytes query_string,
    list headers,
    dict state,
    tuple extensions,
)
cpdef take_back(dict scope, list headers)
