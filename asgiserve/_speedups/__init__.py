"""The compiled stack: `asgiserve._core` built with C types, with the parser over llhttp. Empty where nothing was built."""
