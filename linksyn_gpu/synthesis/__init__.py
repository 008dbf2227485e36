"""From bundles of linked seeds to new QA: prompts, requests, answers, rows of the data set, enhancement."""
