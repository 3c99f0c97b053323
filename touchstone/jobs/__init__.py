"""One module per kind of job: read files, call the package, write files."""
