"""HTTP: routes, handlers, parameters, responses and pages."""
