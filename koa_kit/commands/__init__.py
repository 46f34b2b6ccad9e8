"""Commands of `koa`: thin over the library, which loads only when a command runs."""
