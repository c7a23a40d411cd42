"""Runtime: compiles emitted source, loads it and runs it."""
