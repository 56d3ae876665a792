from deployments.reference import main

main()
