from deployments.schemas import main

main()
