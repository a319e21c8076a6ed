"""What trials leave behind (`bundle`), and reading it back as tables (`load`)."""
