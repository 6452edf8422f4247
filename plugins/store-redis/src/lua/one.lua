-- One lease: value, time left and version; all empty when there is none. ARGV[2] is its name.
return { lease(ARGV[2]) }
