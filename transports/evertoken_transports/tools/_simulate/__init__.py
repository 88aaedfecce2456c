"""``evertoken simulate``: one seed to look at, or many on all cores, and a record of what was run.

``choices``     what is to be simulated, read from the command line, and written as a command again
``campaign``    many seeds, in processes of their own
``record``      what they came to, row by row and in sum
``stored``      the same as a file that can be continued
``files``       files that are written whole or not at all
``interrupts``  Ctrl-C at the right moment
``progress``    how far it is, on a terminal or in lines
``summary``     what it came to, in lines
``gallery``     the pictures: ``scene`` says where everything stands, ``svg`` draws it in the ``looks``, ``page`` zooms
``play``        the command: ``one`` seed or ``many``
"""

from __future__ import annotations
