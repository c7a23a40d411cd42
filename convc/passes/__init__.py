"""Passes: functions from graph to graph, one file each; `pipeline` lists them in order."""
