"""Commands of `koa` about training: thin over the library, which loads only when a command runs."""
