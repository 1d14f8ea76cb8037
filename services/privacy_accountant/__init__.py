"""Admit updates, charge their devices, and end them: the one service that writes the ledger."""
