"""What goes wrong with machines, made to happen on purpose: processes that are killed, calls of the system that fail,
files that are damaged or hostile. For tests of this and of later features.
"""
