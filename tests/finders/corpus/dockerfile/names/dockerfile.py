from not_read import one
