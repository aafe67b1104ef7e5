"""Write the standard library: the definition of every block."""

import mkdocs_gen_files

from attnc.dsl import library

with mkdocs_gen_files.open("reference/library.md", "w") as page:
    print("# Standard library\n", file=page)
    print(
        "Blocks written in the language itself. `attnc explain NAME` prints a definition; "
        "copy it into a spec to change it.\n",
        file=page,
    )
    for name in sorted(library.names()):
        print(f"## {name}\n", file=page)
        print(f"{library.block(name).block.doc}\n", file=page)
        for param in library.block(name).block.params:
            if param.name == "pattern":
                print(f"Serves {', '.join(map(str, param.choices))}.\n", file=page)
        print(f"```text\n{library.text(name).strip()}\n```\n", file=page)
