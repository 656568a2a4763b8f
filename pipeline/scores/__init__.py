"""From scores of runs to one number with an interval: human-normalised aggregates, beside the published ones."""
