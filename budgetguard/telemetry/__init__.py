"""
What OpenTelemetry is told of calls: a span each, and metrics.

Nothing here imports it, or does anything, until the program itself has imported its API and set a provider of traces
or of metrics. It is told on the path of a call and asks nothing: whatever is wrong with it, calls go on.
"""
