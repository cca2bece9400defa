"""SOAP terms: settings, the density expansion, its map."""
