"""From records to verdicts: numbers, intervals, verdicts, tables; without torch."""
