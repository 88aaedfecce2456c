"""One table: row = a loop or an interpreter that people run, column = what a token source owes its callers there."""
