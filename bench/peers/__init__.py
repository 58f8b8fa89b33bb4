"""The same pipeline behind other servers, each set up as its documentation recommends."""
