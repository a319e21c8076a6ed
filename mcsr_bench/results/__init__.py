"""Floor 2: what trials leave behind (`bundle`), and reading it back as tables (`load`)."""
