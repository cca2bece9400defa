"""The files of a potential and of a fitted process: container, document, content."""
