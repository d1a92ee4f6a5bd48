"""The compiled stack: `asgiserve._core` built with C types, over llhttp. Empty where nothing was built."""
