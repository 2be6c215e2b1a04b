"""The page, a module a section: see README.md beside this file."""
