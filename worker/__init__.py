"""Publish a course lesson the moment its Mux video can be played.

Read the code in this order: `model` (the words), `decide` (what each fact means), `reconcile`
(one scan), then `sql/007_settle.sql` (what a verdict does). Around them: `observe` turns due rows
into facts with the help of `mux`, `store` calls the database's functions, `daemon` repeats the
scan, `cli` puts the parts together.
"""

__version__ = "0.1.0"
