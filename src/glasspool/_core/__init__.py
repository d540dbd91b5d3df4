"""How the executor works: from a function that is submitted to the outcome that its handle gives."""
