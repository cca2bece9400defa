"""Addition of frames to a fit without starting over."""
