"""Models that make up quizzes for each other: the loop, its directory, and what is told of it."""
