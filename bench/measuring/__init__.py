"""What every section of the benchmarks uses: spreads, processes, servers, facts of the machine."""
