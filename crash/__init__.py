"""`make crash`: kill gateways at every point, then hold their books against the provider's."""
