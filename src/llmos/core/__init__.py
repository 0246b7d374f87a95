"""Errors, units, configuration, environment, logging and files: standard library only, imported by everything."""
