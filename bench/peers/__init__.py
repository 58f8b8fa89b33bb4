"""The same pipeline behind other servers, each as its own documentation recommends, measured beside ours."""
