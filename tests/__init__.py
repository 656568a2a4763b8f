"""A package, so that `tests.fakes` is ours: opensimplex, a dependency, installs a package `tests` of its own."""
