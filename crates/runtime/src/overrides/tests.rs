mod cases;
mod forgeries;
mod machine;
mod world;
