# What is used of llhttp's C API.
from libc.stdint cimport uint8_t

cdef extern from "llhttp.h" nogil:
    ctypedef struct llhttp_t:
        const char *error_pos
        uint8_t method
        uint8_t http_major
        uint8_t http_minor

    ctypedef int (*llhttp_data_cb)(llhttp_t *parser, const char *at, size_t length) noexcept
    ctypedef int (*llhttp_cb)(llhttp_t *parser) noexcept

    ctypedef struct llhttp_settings_t:
        llhttp_data_cb on_url
        llhttp_data_cb on_header_field
        llhttp_data_cb on_header_value
        llhttp_cb on_headers_complete

    ctypedef enum llhttp_type_t:
        HTTP_REQUEST

    ctypedef enum llhttp_errno_t:
        HPE_PAUSED_UPGRADE

    ctypedef enum llhttp_method_t:
        HTTP_CONNECT

    const int LLHTTP_VERSION_MAJOR
    const int LLHTTP_VERSION_MINOR
    const int LLHTTP_VERSION_PATCH

    void llhttp_settings_init(llhttp_settings_t *settings)
    void llhttp_init(llhttp_t *parser, llhttp_type_t type, const llhttp_settings_t *settings)
    llhttp_errno_t llhttp_execute(llhttp_t *parser, const char *data, size_t length)
    const char *llhttp_method_name(llhttp_method_t method)
