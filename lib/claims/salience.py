"""Claims of Crum et al. (2023), looked up in the tables of chapter 08."""
