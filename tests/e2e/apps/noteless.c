/* A program that is no image: it has no note that tells what it is. */
int main(void)
{
    return 0;
}
