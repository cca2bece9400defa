"""What a fit and a potential will cost, estimated before they run."""
