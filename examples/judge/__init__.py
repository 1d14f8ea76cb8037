"""Judge a federation by its evidence alone: its ledger, its devices' logs and what the broker carried.

Written from the promises (the ledger's tables, the outbox's tables, the wire), and sharing no code with what it judges:
where both are wrong they are wrong in different ways, and that shows.
"""
