from kelt.cli.main import main

main()
