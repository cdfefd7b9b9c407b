"""How other tools wrote down what they drew: one reader for each tool.

A reader takes the texts of a file and returns a `Recipe`, None if its tool did not make the file, or raises `UnreadableError`
with what it cannot read. `registry.READERS` lists the readers, and nothing else in the project knows them.
"""
