"""Compares variants over seeds: which runs there are, what they differ in, what that proves.

Nothing here imports torch, Lightning or pandas, so that a question about runs is answered at once.
"""
