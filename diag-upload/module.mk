# see README.md
