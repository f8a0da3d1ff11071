"""How much memory and work a file from a stranger may ask for: one budget each for images, data sets and models.

Whoever reads a file checks what the file declares against these numbers before anything is allocated. A file that asks
for more is refused with one line that names the file, the number and the limit.
"""

# Images ---------------------------------------------------------------------------------------------------------------

# Data sets ------------------------------------------------------------------------------------------------------------

# Models ---------------------------------------------------------------------------------------------------------------
