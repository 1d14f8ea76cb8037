"""The changes of the tables, in order; a file that was released is never edited."""
