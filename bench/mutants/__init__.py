"""The guards: with any one taken out, a named test goes red."""
