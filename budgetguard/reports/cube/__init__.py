"""
The cube: the entries of a store folded by hour, user, provider, model and tags, so that any sum is one pass over it.

`packed` is what a row adds up to, `codes` its names as small numbers, `blocks` the rows of an hour, `kept` a day as the
store keeps it, `reading` how entries come in, `cube` all of it, `zones` the spans of time and `sums` the questions.
"""
