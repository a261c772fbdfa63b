-- Uploads of a mebibyte.
wrk.method = "PUT"
wrk.body = string.rep("0123456789abcdef", 65536)
