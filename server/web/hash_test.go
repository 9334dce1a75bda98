package web

// referenceHash was made by: echo -n password | argon2 somesalt16bytes. -id -t 3 -k 4096 -p 1 -l 32
// -e
const referenceHash = "$argon2id$v=19$m=4096,t=3,p=1$c29tZXNhbHQxNmJ5dGVzLg$ani72/KL01zQQqqlXYFmm34bQXh/fybGPGd3l1AejBY"
